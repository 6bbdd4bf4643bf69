"""`.pte`: a program for ExecuTorch, which runs on phones and other devices.

`tracing` makes a program of a net, `lowering` hands it to XNNPACK or to portable operators, `runtime` runs it, and
`exporting` does it all.
"""
