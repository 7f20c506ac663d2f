"""Other libraries' instrumentations: those below us do not count what we count, those beside us are joined."""
