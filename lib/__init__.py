"""The reusable code of the book: one idea, one module. Nothing here knows of a page."""
