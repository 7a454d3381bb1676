"""The national server: configuration, worker processes, transport, admission, and the tools of its operator."""

if __name__ == "server":
    raise ImportError("import jukinet.server, not server: the folder is installed under the jukinet namespace")
