"""What 'git nn demo' shows: a small real network, trained with numpy, kept as Keras keeps it."""
