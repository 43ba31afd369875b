"""Equations of methods and metrics in LaTeX, for docs/methods.md and docs/metrics.md.

The descriptions have the same in plain text, which `lop methods NAME` prints. Forges render these, and the site turns
them into MathML. Legend: w weights, g the gradient of the loss, eta the step size, h a unit's activation, w_in and
w_out a unit's incoming and outgoing weights, N the units of a layer, s singular values in falling order, theta all
weights and biases.
"""

SGD = r"w \leftarrow w - \eta\, g"
AVERAGE = r"\frac{1}{|N|} \sum_{j \in N} "
RESET = r"w_{\text{in}} \sim \text{initial distribution}, \quad b \leftarrow 0, \quad w_{\text{out}} \leftarrow 0"

METHODS = {
    "bp": SGD,
    "l2": r"w \leftarrow w - \eta \, (g + \lambda w), \qquad \lambda = \text{weight\_decay}",
    "snp": r"""w \leftarrow w - \eta \, (g + \lambda w) + \sigma n, \qquad n \sim \mathcal{N}(0, 1) \\
\lambda = \text{weight\_decay}, \quad \sigma = \text{perturb\_scale}""",
    "cbp": r"""u \leftarrow \gamma u + (1 - \gamma) \, y, \qquad \gamma = \text{decay\_rate} \\
y_{\text{contribution}} = \overline{|h - \bar h|} \; \overline{|w_{\text{out}}|} \\
y_{\text{adaptable}} = y_{\text{contribution}} \,/\, \overline{|w_{\text{in}}|} \\
\text{budget} \leftarrow \text{budget} + \rho |N|, \qquad \rho = \text{replacement\_rate} \\
\lfloor \text{budget} \rfloor \text{ mature units of least } u / (1 - \gamma^{\text{age}}): \quad """
    + RESET
    + r", \quad u, \text{age} \leftarrow 0",
    "cbp2": r"""u = \overline{|h|} \; \overline{|w_{\text{out}}|} \\
\text{budget} \leftarrow \text{budget} + \rho \, |\text{mature units}|, \qquad \rho = \text{replacement\_rate} \\
\lfloor \text{budget} \rfloor \text{ mature units of least } u: \quad """
    + RESET,
    "redo": r"s_i = \frac{\overline{|h_i|}}{"
    + AVERAGE
    + r"\overline{|h_j|} + 10^{-9}} \\"
    + "\n"
    + r"\text{every redo\_period steps, } s_i \le \text{redo\_threshold}: \quad "
    + RESET,
    "redo_kumar": r"s_i = \frac{\overline{|h_i|}}{"
    + AVERAGE
    + r"\overline{|h_j|}} \\"
    + "\n"
    + r"""\text{every redo\_period steps, } s_i \le \text{redo\_threshold}: \quad
(w_{\text{in}}, b) \leftarrow \text{initial values}, \quad w_{\text{out}} \leftarrow 0""",
    "regrama": r"s_i = \frac{\overline{|g_{\text{in}, i}|}}{"
    + AVERAGE
    + r"\overline{|g_{\text{in}, j}|} + 10^{-8}} \\"
    + "\n"
    + r"\text{every regrama\_period steps, } s_i \le \text{regrama\_threshold}: \quad "
    + RESET,
    "snr": r"a_i = \text{examples since } h_i > 0, \qquad a_i \ge t_i: \quad "
    + RESET
    + r""", \quad a_i \leftarrow 0 \\
\text{at the end of a task:} \quad t_i \leftarrow
\begin{cases} q_i & q_i < t_i \\ \text{snr\_factor} \; t_i & \text{otherwise} \end{cases} \\
q_i = \text{the snr\_quantile of the unit's ages } a_i > 0""",
    "l2_init": r"""L + \frac{\lambda}{2} \sum (w - w_0)^2, \qquad \lambda = \text{l2\_init} \\
\text{l1:} \quad L + \lambda \sum |w - w_0| \\
\text{huber:} \quad L + \lambda \sum H(w - w_0), \qquad
H(d) = \begin{cases} d^2 / 2 & |d| < 1 \\ |d| - 1/2 & \text{otherwise} \end{cases}""",
    "upgd": r"""u \leftarrow \beta_u u - (1 - \beta_u) \, g w, \qquad \beta_u = \text{upgd\_utility\_decay} \\
s = \operatorname{sigmoid}(\hat u / \max \hat u), \qquad n \sim \mathcal{N}(0, \sigma^2), \quad \sigma = \text{upgd\_sigma} \\
w \leftarrow (1 - \eta \lambda) \, w - \eta \, (1 - s) (g + n) \\
\text{not protecting:} \quad w \leftarrow (1 - \eta \lambda) \, w - \eta \, (g + (1 - s) \, n)""",
    "adaupgd": r"""m \leftarrow \beta_1 m + (1 - \beta_1) \, g, \qquad v \leftarrow \beta_2 v + (1 - \beta_2) \, g^2 \\
w \leftarrow (1 - \eta \lambda) \, w - 2 \eta \, (1 - s)
\left( \frac{\hat m}{\sqrt{\hat v} + \epsilon} + n \right)""",
    "weight_clipping": r"w \leftarrow \operatorname{clip}(w, -b, b), \qquad b = \text{clip\_kappa} / \sqrt{\text{fan in}}",
    "hare_tortoise": r"""w_{\text{slow}} \leftarrow \mu \, w_{\text{slow}} + (1 - \mu) \, w,
\qquad \mu = \text{hare\_tortoise\_decay} \\
\text{every hare\_tortoise\_period steps:} \quad w \leftarrow w_{\text{slow}}""",
    "snp_kumar": r"""w \leftarrow (1 - \lambda) \, w + \sigma w_0,
\qquad w_0 \sim \text{initial distribution, in each step} \\
\lambda = \text{snp\_kumar\_shrink}, \quad \sigma = \text{snp\_kumar\_perturb}""",
    "parseval": r"""L + \lambda \sum \| W W^\top - s I \|_F^2 \\
\lambda = \text{parseval\_strength}, \quad s = \text{parseval\_scale}""",
    "spectral": r"""L + \lambda \left( \sum \left( \sigma_1(W)^k - 1 \right)^2 + \sum \| b \|^{2k} \right) \\
\lambda = \text{spectral\_strength}, \quad k = \text{spectral\_power}""",
    "snp_task": r"""\text{at the start of a task:} \quad w \leftarrow (1 - \lambda) \, w + \sigma w_0,
\qquad w_0 \sim \text{initial distribution} \\
\lambda = \text{snp\_task\_shrink}, \quad \sigma = \text{snp\_task\_perturb}""",
    "dash": r"""\text{over the batches of the new task:} \quad G \leftarrow (1 - \alpha) \, G - \alpha g,
\qquad G = 0 \text{ at first} \\
\text{each row, kernel or bias:} \quad w \leftarrow w \, \max(\lambda, \cos(w, G)) \\
\alpha = \text{dash\_alpha}, \quad \lambda = \text{dash\_lambda}""",
    "fire": r"""\text{at the start of a task:} \quad X = W / \| W \|_F, \qquad
X \leftarrow 1.5 \, X - 0.5 \, X X^\top X \quad \text{(fire\_iterations times)} \\
W \leftarrow \frac{\sqrt{\text{outputs} / \text{inputs}}}{\text{entries of a kernel}} \, X""",
    "plasticity_injection": r"f(x) = h(x; \theta_{\text{frozen}}) + h(x; \theta_{\text{new}}) - h(x; \theta_{\text{start}})",
    "head_reset": r"\text{at the start of a task, in the last layers:} \quad w \leftarrow w_0 \sim \text{initial distribution}",
    "full_reset": r"\text{at the start of a task:} \quad w \leftarrow w_0 \sim \text{initial distribution}",
    "linear": r"f(x) = W x + b, \qquad " + SGD,
}

METRICS = {
    "train_accuracy": r"\frac{1}{T} \sum_{t=1}^{T} \operatorname{accuracy}(\theta_t, \text{batch}_t)",
    "test_accuracy": r"\frac{1}{B} \sum_{b=1}^{B} \operatorname{accuracy}(\theta, \text{batch}_b)",
    "train_loss": r"\frac{1}{T} \sum_{t=1}^{T} L(\theta_t, \text{batch}_t)",
    "curvature": r"""\operatorname{mean}_{x,\, v} \; \| \nabla_x L(x + \epsilon v) - \nabla_x L(x) \|_2,
\qquad v \in \{-1, 1\}^n, \quad \epsilon = 10^{-3}""",
    "weight_magnitude": r"\frac{1}{|\theta|} \sum_i |\theta_i|",
    "dormant_proportion": r"\frac{|\{ i : \overline{|h_i|} < 0.01 \}|}{|N|}",
    "tau_dormant_proportion": r"\frac{1}{|N|} \left| \left\{ i : \overline{|h_i|} \le \tau \; "
    + AVERAGE
    + r"\overline{|h_j|} \right\} \right|, \qquad \tau = 0.025",
    "dead_proportion": r"\frac{|\{ i : \max |h_i| = 0 \}|}{|N|}",
    "effective_rank": r"\exp \left( - \sum_i p_i \log p_i \right), \qquad p_i = \frac{s_i}{\sum_j s_j}",
    "stable_rank": r"\min \left\{ k : \frac{s_1 + \dots + s_k}{\sum_j s_j} \ge 0.99 \right\}",
    "srank": r"\min \left\{ k : \frac{s_1 + \dots + s_k}{\sum_j s_j} \ge 1 - \delta \right\}, \qquad \delta = 0.01",
    "nuclear_frobenius_ratio": r"\frac{\sum_i s_i}{\sqrt{\sum_i s_i^2}}",
    "frobenius_spectral_ratio": r"\frac{\| A \|_F^2}{\| A \|_2^2} = \frac{\sum_i s_i^2}{s_1^2}",
    "gradient_norm": r"\left\| \frac{\partial L}{\partial \theta} \right\|_2",
}


def block(latex: str) -> str:
    """Return a block that forges render and the site turns into MathML. Several lines become one aligned display."""
    end = "\\\\\n"
    if end in latex:
        rows = f" {end}".join(f"& {row.strip()}" for row in latex.split(end))
        latex = f"\\begin{{split}}\n{rows}\n\\end{{split}}"
    return f"```math\n{latex}\n```\n"
