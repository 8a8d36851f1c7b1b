"""What is kept: a thin driver, group commit, and one module a noun. No ORM."""
