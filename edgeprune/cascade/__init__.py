"""Answer easy texts without the encoder: a first stage, how it is trained, when it may answer, and the graph of both."""
