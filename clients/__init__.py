"""Clients of the national server: a Trio client, a blocking client and the `jukinet` command."""

if __name__ == "clients":
    raise ImportError("import jukinet.clients, not clients: the folder is installed under the jukinet namespace")
