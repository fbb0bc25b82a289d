"""The local stack of Bursar: a real Kubernetes control plane, a throw-away Slurm and Bursar's own parts as processes."""
