"""Config files, fields and their checks, stored configs and their comparison."""
