"""Detection of misuse on the stream of requests: bounded counts, sketches and rules (docs/detection.md). No I/O."""
