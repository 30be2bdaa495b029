"""The cases of one run on many processes: GPUs of one host by xdist, machines of a cluster by Ray."""
