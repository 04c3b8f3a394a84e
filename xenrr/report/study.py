"""Published numbers to put beside measured ones.

Source: Antonioli and Fernandes, 2006, the study that this project repeats: netperf's TCP_RR
under Xen, four hosts with a Dom0 and two DomUs each, transactions per second of the senders
on hosts 1 to 3 while 12, 11, 8 and 6 machines send to Dom0 of host 1 at the same time. It
shows no numbers of host 4.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["STUDIES"]

# Transactions per second, by experiment and machine.
ANTONIOLI_2006: Mapping[str, Mapping[str, float]] = {
    "12": {
        "D0.1": 2297.98, "DU1.1": 1090.09, "DU1.2": 1004.39, "D0.2": 318.93, "DU2.1": 524.89,
        "DU2.2": 600.89, "D0.3": 445.88, "DU3.1": 866.91, "DU3.2": 917.78,
    },
    "11": {
        "DU1.1": 957.31, "DU1.2": 1101.14, "D0.2": 463.31, "DU2.1": 538.25, "DU2.2": 594.97,
        "D0.3": 433.44, "DU3.1": 797.53, "DU3.2": 885.03,
    },
    "8": {
        "DU1.1": 1078.46, "DU1.2": 1140.17, "DU2.1": 595.87, "DU2.2": 632.34, "DU3.1": 682.01,
        "DU3.2": 749.41,
    },
    "6": {
        "DU2.1": 2026.78, "DU2.2": 2023.36, "DU3.1": 2052.29, "DU3.2": 2051.94,
    },
}
STUDIES: Mapping[str, Mapping[str, Mapping[str, float]]] = {"antonioli-2006": ANTONIOLI_2006}
