"""Steps that jobs are made of; each is loaded by the jobs that need it, when they run."""
