"""``make gpu-check``: does this GPU train correctly, and how fast?

`__main__` reads the command line, `runner` drives a child process, `child` runs the stages listed in `stages`, and
`results` keeps what they report. The parent process imports only the standard library.
"""
