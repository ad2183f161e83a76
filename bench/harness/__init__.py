"""What every benchmark needs: servers that are measured and ended, a PostgreSQL of their own,
BunBun's settings, medians and tables. Python's standard library only."""
