"""Found before the real torch when the folder above is on PYTHONPATH: a machine where it is not installed."""

raise ModuleNotFoundError("No module named 'torch'", name="torch")
