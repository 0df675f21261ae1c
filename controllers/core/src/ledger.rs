//! Claims: what each instance occupies on each node, counted once however many objects name it.
