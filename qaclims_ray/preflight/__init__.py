"""What would end a run hours later, looked for before it starts."""
