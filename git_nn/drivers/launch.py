"""Starts a module of the git_nn that this file belongs to, from a source checkout.

    python -I .../git_nn/drivers/launch.py git_nn.drivers.merge ...

Commands that Git runs start Python isolated, so that neither the current folder (a work
tree, whose files are not ours to execute) nor PYTHONPATH is searched. A checkout that is
found in no other way is named by its absolute path instead.
"""

import os
import runpy
import sys

if __name__ == "__main__":
    sys.path.insert(0, __file__.rsplit(os.sep, 3)[0])
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
