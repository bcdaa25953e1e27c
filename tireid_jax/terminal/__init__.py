"""Progress bars, log lines and tables of the commands."""
