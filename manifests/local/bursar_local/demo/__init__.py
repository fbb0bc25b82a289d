"""The demo: the main job on real input, from `kubectl apply` to two schedulers and back, and a check of its own books."""
