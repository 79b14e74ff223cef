"""What a merge would do, told before anything happens; nothing is written anywhere.

``foresee`` says what becomes of each file and tensor, from commits and pointers; ``measure``
reads the tensors that a side changed and says how far. ``text`` and ``as_json`` give that a form.
"""
