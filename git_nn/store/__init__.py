"""The store: objects by oid, in immutable packs with rebuildable indexes."""
