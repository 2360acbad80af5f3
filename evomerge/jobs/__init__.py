"""The jobs of the command line, each a short plain function ``run(config)``."""
