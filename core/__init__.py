"""What the register is made of: records, store, index, wire format, record of use, law. No network, no event loop."""

if __name__ == "core":
    raise ImportError("import jukinet.core, not core: the folder is installed under the jukinet namespace")
