"""Tasks of a trained model, from a file, a folder or a pipe to another."""
