"""A chain of N routers in Mininet: `chain_mininet.py N` prints one JSON line with the times of building it and taking it down.

The same chain as the other programs that `testbed bench` compares: N namespaces, N - 1 links, one IPv4 address an end,
forwarding on; no switch and no controller.
"""

import ipaddress
import json
import sys
import time

from mininet.link import Link
from mininet.log import setLogLevel
from mininet.net import Mininet
from mininet.node import Node


class Router(Node):
    def config(self, **settings):
        result = super().config(**settings)
        self.cmd("sysctl -qw net.ipv4.ip_forward=1")
        return result


def build(count):
    net = Mininet(topo=None, build=False, link=Link)
    routers = [net.addHost(f"r{number}", cls=Router, ip=None) for number in range(count)]
    first = ipaddress.IPv4Address("10.0.0.0")
    for number, (near, far) in enumerate(zip(routers, routers[1:])):
        net.addLink(
            near,
            far,
            intfName1=f"r{number}-after",
            intfName2=f"r{number + 1}-before",
            params1={"ip": f"{first + 4 * number + 1}/30"},
            params2={"ip": f"{first + 4 * number + 2}/30"},
        )
    net.build()
    net.start()
    return net


def main():
    count = int(sys.argv[1])
    setLogLevel("error")
    start = time.monotonic()
    net = build(count)
    up = time.monotonic()
    net.stop()
    down = time.monotonic()
    print(json.dumps({"up_ms": (up - start) * 1e3, "down_ms": (down - up) * 1e3}))


main()
