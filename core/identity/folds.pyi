"""Nothing for Python: the folds of records and questions, for kernels."""
