"""Which sources are taken for Python 2's."""

from __future__ import annotations

import pytest

from caffecompat.legacy.python2.marks import is_python2, parse3

PYTHON2 = [
    "print 1",
    "except_ = 0\ntry: pass\nexcept E, e: pass",
    "for i in xrange(3): pass",
    "x = raw_input()",
    "d.iteritems()",
    "if d.has_key(1): pass",
    "import cPickle",
    "import urllib2 as u",
    "from StringIO import StringIO",
    "import sys\nprint(sys.maxint)",
    "from itertools import izip",
    "d.keys()[0]",
    "x = map(f, y)[0]",
    "#!/usr/bin/env python2.7\nx = 1 / 2",
    "from __future__ import print_function\nprint(unicode('a'))",
    "if True:\n        a = 1\n\tb = 2",
]
PYTHON3 = [
    "x = 1 / 2",
    "print('a')",
    "#!/usr/bin/env python\nprint(range(3))",
    "from six.moves import xrange\nxrange(3)",
    "try:\n    xrange\nexcept NameError:\n    xrange = range\nxrange(2)",
    "try:\n    import cPickle as pickle\nexcept ImportError:\n    import pickle",
    "import sys\nif sys.version_info[0] < 3:\n    text = unicode",
    "def f(file, buffer): return file",
    "def reduce(a): pass\nreduce(1)",
    "from functools import reduce\nreduce(f, x)",
    "print(f'{1:d}')",
    "frame.keys('a')[0]",
    "# print 1, xrange",
]


@pytest.mark.parametrize("text", PYTHON2)
def test_python_2(text):
    assert is_python2(text, parse3(text, "x.py"))


@pytest.mark.parametrize("text", PYTHON3)
def test_python_3(text):
    tree = parse3(text, "x.py")
    assert tree is not None
    assert not is_python2(text, tree)
