"""CLIP with prompts in both encoders. Models know no data, loss, mesh, stage or config object."""
