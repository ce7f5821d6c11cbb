"""What Ray loads: the node provider and its command runner. Only the modules in here import Ray."""
