"""Training: a stage's program and loop, its optimizer, where its variables come from, and what is checked."""
