"""What -h prints: the options there are, in our words and in netperf's form."""

from __future__ import annotations

__all__ = ["CLIENT", "CLIENT_TEST", "SERVER"]

CLIENT = """
Usage: netperf [global options] -- [test options]

Global options:
    -4, -6            IPv4 or IPv6 only
    -B text           Tag on result lines without headers
    -d                Accepted; prints nothing more
    -D secs[,units]   Interim results about every so many seconds
    -f x|k|m|g|K|M|G  Unit of the rate; x is transactions per second
    -h                This text
    -H host[,family]  Host that runs netserver or xenrr.server
    -i max[,min]      Iterations for a confidence interval (3 to 30)
    -I level[,width]  Confidence level 95 or 99, full width in %
    -j                Accepted; every round trip is timed anyway
    -l length         Seconds (10, 10s, 1m30s), or -N for N transactions; 0 until SIGINT
    -L host[,family]  Local address
    -p port[,local]   Control port of the server, and the local one
    -P 0|1            Headers off or on
    -r                The confidence of the rate is enough
    -s seconds        Pause between set-up and the first request
    -t test           TCP_RR or UDP_RR
    -v level          0 one number, 1 table, 2 details
    -V                Version of netperf whose words these are
    -Z passphrase     Passphrase that the server wants

xenrr's own, anywhere on the line:
    --engine name     hot (C), pure (Python) or auto
    --json            Nothing but the full record of each run, one JSON document a line
    --percentiles [p,p,...]  Exact percentiles in microseconds after the results
    --version         Version of xenrr
"""

CLIENT_TEST = """
Usage: netperf [global options] -- [test options]

Options of TCP_RR and UDP_RR:
    -4, -6            IPv4 or IPv6 for the data connection
    -b number         Requests in flight beyond the first
    -D                TCP_NODELAY at both ends
    -e seconds        UDP: a request without a response for this long is lost (1)
    -h                This text
    -H host[,family]  Where the data connection goes
    -k [selectors]    Results as NAME=value; '?' lists the selectors
    -L host[,family]  Where the data connection comes from
    -o [selectors]    Results as CSV
    -O [selectors]    Results in columns
    -P local[,remote] Ports of the data connection
    -r req[,rsp]      Request and response size in bytes
    -s send[,recv]    Local socket buffers in bytes
    -S send[,recv]    Remote socket buffers in bytes
    -u text           UUID of this test

One value without a comma stands for both; "a," and ",b" give the first or the second.
Sizes take K M G (powers of 1024) and k m g (powers of 1000).
"""

SERVER = """
Usage: netserver [options]

Options:
    -4, -6            IPv4 or IPv6 only
    -d                Accepted; prints nothing more
    -D                Stay in the foreground
    -f                Accepted; no process is started for a test
    -h                This text
    -L host[,family]  Address to listen on
    -n number         Accepted; CPU utilisation is not measured yet
    -N                Accepted; no debug file is ever written
    -p port           Port to listen on
    -v level          1 and above: a line on stderr for each finished test
    -V                Version of netperf whose words these are
    -Z passphrase     Passphrase that clients have to send

xenrr's own:
    --engine name     hot (C), pure (Python) or auto
    --version         Version of xenrr
"""
