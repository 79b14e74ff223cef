"""Git without tensors: every git process that git-nn starts is started here."""
