#!/usr/bin/env bash
# Run a command with a real Slurm of one node: tests/cluster/slurm.sh COMMAND [ARGUMENT...]
#
# It leaves nothing behind, needs neither systemd nor root, and listens only on this machine; several can run at once.
# Jobs in the partition "low" (the default) are requeued, after a signal and ten seconds, when a job in "high" wants their
# place; "short" allows ten minutes, and "closed" starts nothing. The command gets SLURM_CONF and
# LOP_CLUSTER, the directory with logs and configuration, in its environment.
set -euo pipefail
shopt -s nullglob

NODE_CPUS=4 # may exceed the real number, because the jobs of tests mostly wait
START_S=30
END_S=15

die() {
    echo "slurm.sh: $*" >&2
    exit 1
}

find_programs() {
    PATH=$PATH:/usr/sbin:/sbin # Debian's daemons are here, outside a user's PATH
    local missing=() package program
    while read -r package program; do
        command -v "$program" >/dev/null || missing+=("$package")
    done <<<$'munge munged\nslurmctld slurmctld\nslurmd slurmd\nslurm-client sbatch'
    [ ${#missing[@]} = 0 ] || die "not installed: ${missing[*]}; apt-get install --no-install-recommends ${missing[*]}"
}

free_port() { # below the kernel's range for outgoing connections
    local port
    while port=$((20000 + RANDOM % 12000)); do
        (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
    done
    echo "$port"
}

configure() {
    cat >"$SLURM_CONF" <<CONF
ClusterName=throwaway
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort=$(free_port)
SlurmdPort=$(free_port)
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny  # listen only on loopback
# A requeued job waits until the credential of its last start has expired: 120 seconds by default, at least 5.
AuthInfo=socket=$dir/munge.sock,cred_expire=5
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
MailProg=/bin/true
MaxArraySize=8
ProctrackType=proctrack/linuxproc  # a container may have no cgroups
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
KillWait=3
MinJobAge=3600  # ended jobs stay in squeue, which the stand-in for sacct reads
ReturnToService=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal  # send the signal of --signal also before preemption
SlurmdParameters=config_overrides  # use the number of CPUs configured here
NodeName=localhost NodeAddr=127.0.0.1 NodeHostname=$(hostname -s) CPUs=$NODE_CPUS
PartitionName=low Nodes=localhost Default=YES MaxTime=60 PriorityTier=1 GraceTime=10
PartitionName=high Nodes=localhost MaxTime=60 PriorityTier=10 PreemptMode=OFF
PartitionName=short Nodes=localhost MaxTime=10
PartitionName=closed Nodes=localhost MaxTime=60 State=DOWN
CONF
}

# Without accounting the real sacct has no data. This one answers from squeue, in the columns that lop and submitit
# request: sacct [-n] -o JobID,State,NodeList,Reason -j JOB [-j JOB...]
stand_in_for_sacct() {
    cat >"$dir/bin/sacct" <<'SACCT'
#!/usr/bin/env bash
ids= columns=JobID,State,NodeList header=yes
while [ $# -gt 0 ]; do
    case $1 in
    -j) ids+=,$2 && shift ;;
    -o) columns=$2 && shift ;;
    -n) header= ;;
    esac
    shift
done
columns=${columns//,/|}
[ -z "$header" ] || echo "$columns"
format=$(sed 's/JobID/%i/; s/State/%T/; s/NodeList/%N/; s/Reason/%r/' <<<"$columns")
squeue --noheader --states=all ${ids:+--jobs="${ids#,}"} --format="$format" 2>/dev/null || true # no output for a job that squeue no longer lists
SACCT
    chmod +x "$dir/bin/sacct"
}

start() { # a daemon in its own session, so that Ctrl-C reaches only the command
    setsid "$@" >"$dir/$1.log" 2>&1 </dev/null &
}

wait_for() {
    local what=$1 log deadline=$((SECONDS + START_S))
    shift
    until "$@"; do
        if [ $SECONDS -ge $deadline ]; then
            for log in "$dir"/*.log; do
                echo "== $log" >&2
                tail -n 20 "$log" >&2
            done
            die "$what did not start within $START_S seconds; see its log above"
        fi
        sleep 0.1
    done
}

node_is_idle() { [ "$(sinfo --noheader --partition=low --format=%T 2>/dev/null)" = idle ]; }

# All processes of this cluster have its configuration in their environment: daemons, jobs, and the command.
processes() { env -u SLURM_CONF grep -lzs "^SLURM_CONF=$SLURM_CONF$" /proc/[0-9]*/environ | grep -o '[0-9]*' || true; }

clean_up() {
    trap '' INT TERM HUP
    set +e
    local deadline=$((SECONDS + END_S)) pid
    timeout 3 scancel --user="$(id -un)" 2>/dev/null
    while [ -n "$(timeout 3 squeue --noheader --states=running,completing 2>/dev/null)" ] && [ $SECONDS -lt $deadline ]; do
        timeout 3 scancel --user="$(id -un)" --signal=KILL --full 2>/dev/null # none has unsaved data
        sleep 0.2
    done
    for pid in $(processes); do kill -TERM "$pid" 2>/dev/null; done
    while [ -n "$(processes)" ] && [ $SECONDS -lt $deadline ]; do sleep 0.1; done
    for pid in $(processes); do kill -KILL "$pid" 2>/dev/null; done
    wait
    rm -rf "$dir"
}

[ $# -gt 0 ] || die "name a command to run: tests/cluster/slurm.sh COMMAND [ARGUMENT...]"
find_programs
dir=$(mktemp -d)
chmod 755 "$dir" # munged requires a path that all users may enter
mkdir "$dir/bin" "$dir/state" "$dir/spool"
trap clean_up EXIT
export SLURM_CONF=$dir/slurm.conf LOP_CLUSTER=$dir PATH=$dir/bin:$PATH
configure
stand_in_for_sacct

(umask 077 && head -c 128 /dev/urandom >"$dir/munge.key")
start munged --foreground --key-file="$dir/munge.key" --socket="$dir/munge.sock" \
    --pid-file="$dir/munged.pid" --seed-file="$dir/munged.seed"
wait_for munged test -S "$dir/munge.sock"
start slurmctld -D
start slurmd -D
wait_for "the node" node_is_idle
"$@"
