"""Programs that Git calls; they speak Git's protocols and call the verbs."""
