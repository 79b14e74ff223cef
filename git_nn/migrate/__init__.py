"""migrate: the same history with pointers in it, from plain Git or Git LFS, and the way back.

``survey`` says what is in history and which of it to change, ``inward`` and ``outward`` how
a file changes, ``rewrite`` has all commits rewritten, ``swap`` moves refs, index and work tree.

1. Nothing moves until all is stored: weights, then Git's objects, then all refs at once. Who
   is killed before has the refs of before.
2. What refs named before stays under refs/original-nn/ until a person takes it away.
"""
