"""The reusable code of the book: one module for each idea, named like its chapter and its test file."""
