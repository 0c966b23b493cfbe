"""Three real servers that are a cluster, for the tests in test/apps and test/chaos."""

import threading

from server import HOST, Server, free_port


class Cluster:
    """As a context manager it starts all servers, and stops them cleanly at the end."""

    def __init__(self, folder, size=3, *flags, addresses=None):
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.ids = list(range(1, size + 1))
        self.ports = {node: free_port() for node in self.ids}
        self.peer_ports = {node: free_port() for node in self.ids}
        self.flags = list(flags)
        # What each node is told about where another one listens; its own address is its own.
        self.addresses = addresses or (lambda node, other: f"{HOST}:{self.peer_ports[other]}")
        self.servers = {node: self.server(node) for node in self.ids}

    def peers(self, node, ids=None):
        own = f"{HOST}:{self.peer_ports[node]}"
        return ",".join(f"{other}@{own if other == node else self.addresses(node, other)}"
                        for other in ids or self.ids)

    def server(self, node, data=None, ids=None):
        return Server(data or self.folder / f"node-{node}", "--node-id", str(node), "--peers", self.peers(node, ids),
                      "--shards", "1", *self.flags, port=self.ports[node])

    def add_node(self, node):
        """One that was not there when the others were told of each other."""
        self.ports[node] = free_port()
        self.peer_ports[node] = free_port()
        self.servers[node] = self.server(node, ids=[*self.ids, node])
        return self.start(node)

    @property
    def bootstrap(self):
        return ",".join(f"{HOST}:{port}" for port in self.ports.values())

    def start(self, *nodes):
        """Starts these nodes, or all, at the same time."""
        failures = []

        def run(node):
            try:
                self.servers[node].start()
            except Exception as failure:  # Raised again where it is seen.
                failures.append(failure)

        threads = [threading.Thread(target=run, args=(node,)) for node in nodes or self.ids]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]
        return self

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, *_):
        for server in self.servers.values():
            if server.running():
                server.stop() if kind is None else server.kill9()
