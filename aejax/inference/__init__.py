"""Tasks of a trained model on files, folders or pipes."""
