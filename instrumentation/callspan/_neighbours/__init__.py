"""Other libraries' instrumentations: those below us are kept from counting what we count, those beside us are joined."""
