"""The protocol, top to bottom: snapshot, plan, export, load, merge, state."""
