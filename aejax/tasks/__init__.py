"""What a trained model is for: each task from a file, a folder or a pipe to another."""
