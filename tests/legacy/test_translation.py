"""Python 2 on Python 3: what programs print is what Python 2.7.18 printed."""

from __future__ import annotations

import ast
import contextlib
import io
import pickle
import sys
from types import ModuleType

import numpy as np
import pytest

from caffecompat.errors import FormatError
from caffecompat.legacy.loading import compile_text, decode, run
from caffecompat.legacy.python2.translate import translate


def run2(text):
    """The names of a program of Python 2 after it ran, and what it printed."""
    module = ModuleType("program")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        run(compile_text(text, "program.py", python2=True), module)
    return vars(module), printed.getvalue()


PRINTED = {
    'print "a", 1': "a 1\n",
    "print": "\n",
    'print "a",; print "b"': "a b\n",
    "print (1, 2)": "(1, 2)\n",
    'print("a")': "a\n",
    "import sys\nprint >>sys.stdout, 'x', 3": "x 3\n",
    "print 7 / 2, -7 / 2, 7 / 2., 7 // 2, 7 % 4 / 2": "3 -4 3.5 3 1\n",
    "print 2 * 7 / 2 * 3": "21\n",
    "print (7 /  # a comment\n    2)": "3\n",
    "x = 7\nx /= 2\nprint x": "3\n",
    "from __future__ import division\nprint 7 / 2": "3.5\n",
    r"print '\u00e9', '\\u0041', u'\u0041', '\N', r'\u', len('\\\u')": "\\u00e9 \\u0041 A \\N \\u 3\n",
    r"""from __future__ import unicode_literals, print_function
print('\u0041')""": "A\n",
    "print 0777L, 00, 0L, 0x1FL": "511 0 0 31\n",
    "print `[1, 'a']`, 1 <> 2, 0777, 0xFFL, 10L": "[1, 'a'] True 511 255 10\n",
    r"print ur'\d', u'x', ur'''a\b'''": "\\d x a\\b\n",
    "try:\n    raise ValueError, 'why'\nexcept (KeyError, ValueError), error:\n    print error": "why\n",
    "d = {}\nexec 'x = 5 / 2' in d\nprint d['x']": "2\n",
    "exec 'print 1, 2'": "1 2\n",
    "def f():\n    x = 3\n    exec 'print x / 2'\nf()": "1\n",
    "d = {'a': 1}\nprint d.has_key('a'), d.keys()[0], d.items(), d.iteritems().next()": "True a [('a', 1)] ('a', 1)\n",
    "d = {2: 0, 1: 0}\nfor k in d.keys(): del d[k]\nprint d": "{}\n",
    "d = {2: 0, 1: 0}\nk = d.keys()\nk.sort()\nprint k, sorted(d.iterkeys())": "[1, 2] [1, 2]\n",
    "print map(str, [1])[0], map(None, [1, 2], [3]), filter(None, (0, 1)), filter(str.isdigit, 'a1')": (
        "1 [(1, 3), (2, None)] (1,) 1\n"
    ),
    "print zip([1], 'a')[0], range(2) + [5], len(xrange(3))": "(1, 'a') [0, 1, 5] 3\n",
    "print reduce(lambda a, b: a - b, [9, 2, 3]), cmp(1, 2), cmp('b', 'a'), apply(max, (1, 2))": "4 -1 1 2\n",
    "print isinstance(u'a', unicode), isinstance('a', basestring), isinstance(3, (int, long))": "True True True\n",
    "print unicode('a', 'utf-8'), unicode(3), unichr(97), 'a'.decode('utf-8'), b'a'.decode('utf-8')": "a 3 a a a\n",
    "l = [1, 3, 2]\nl.sort(lambda a, b: cmp(b, a))\nprint l, sorted(l, cmp), sorted(l, key=lambda x: -x)": (
        "[3, 2, 1] [1, 2, 3] [3, 2, 1]\n"
    ),
    "l = [1, 3, 2]\nl.sort(cmp=cmp, reverse=True)\nprint l": "[3, 2, 1]\n",
    "print round(2.5), round(-0.5), round(2.675, 2), round(1234, -2)": "3.0 -1.0 2.67 1200.0\n",
    "print (lambda (a, b), c: a * b + c)((2, 3), 4)": "10\n",
    (
        "class A:\n    def next(self): return 5\n    def __nonzero__(self): return 0 > 1\nprint A().next(), bool(A())"
    ): "5 False\n",
    "class A:\n    def __div__(self, other): return 'divided'\nprint A() / 2": "divided\n",
    "class Meta(type):\n    kind = 7\nclass A(object):\n    __metaclass__ = Meta\nprint A.kind": "7\n",
    "if True:\n        print 1\n\tprint 2": "1\n2\n",
    "import __builtin__\n__builtin__.thing = 4\nprint thing": "4\n",
    "print reduce(lambda total, (a, b): total + a * b, [(1, 2), (3, 4)], 0)": "14\n",
    "print sorted({'a': 2, 'b': 1}.items(), key=lambda (k, v): v)": "[('b', 1), ('a', 2)]\n",
    "print 1 / len(`12`), [x / 2 for x in [5] if x / 2 == 2]": "0 [2]\n",
}


@pytest.mark.parametrize("text", PRINTED)
def test_programs_print_what_python_2_printed(text):
    assert run2(text)[1] == PRINTED[text]


MODULES = {
    "import string\nprint string.letters[:3], string.join(['a', 'b'], '-'), string.atoi('3')": "abc a-b 3\n",
    "from string import maketrans, upper\nprint 'abc'.translate(maketrans('a', 'x')), upper('q')": "xbc Q\n",
    "import os, sys\nprint os.getcwdu() == os.getcwd(), sys.maxint > 9, os.path.join('a', 'b')": "True True a/b\n",
    "import os.path\nfrom os.path import basename\nprint os.path.basename('a/b'), basename('a/c')": "b c\n",
    "import sys\nreload(sys)\nsys.setdefaultencoding('utf-8')\nprint 1": "1\n",
    "from itertools import izip, imap, ifilter\nprint list(izip([1], [2])), list(imap(str, [1]))": "[(1, 2)] ['1']\n",
    "import ConfigParser, Queue\nprint ConfigParser.SafeConfigParser().sections(), Queue.Queue().empty()": "[] True\n",
    (
        "from StringIO import StringIO\nimport cStringIO\ns = StringIO()\ns.write('a')\n"
        "print s.getvalue(), cStringIO.StringIO('b').read()"
    ): "a b\n",
    (
        "import urllib, urllib2, urlparse\n"
        "print urllib.quote('a b'), urlparse.urlparse('x://y').netloc, urllib2.Request('http://a').get_full_url()"
    ): "a%20b y http://a\n",
    (
        "import codecs\nout = codecs.getwriter('utf8')(open('/dev/null', 'w'))\n"
        "print >>out, u'\\xe9'\nout.close()\nprint out.stream.closed"
    ): "True\n",
    "import commands\nprint commands.getoutput('echo hi')": "hi\n",
    "import subprocess as s\nprint s.check_output(['echo', 'hi']).split()[0] + '!'": "hi!\n",
    "import subprocess\np = subprocess.Popen(['cat'], stdin=-1, stdout=-1)\nprint p.communicate('x')[0] + 'y'": "xy\n",
    (
        "import math, numpy\n"
        "print math.floor(3.7), 7 / math.ceil(2.5), range(math.floor(2.5)), numpy.zeros(math.ceil(.5)).size"
    ): "3.0 2.3333333333333335 [0, 1] 1\n",
    (
        "from sets import Set\nimport types, collections\n"
        "print len(Set([1, 1])), types.StringType is str, collections.Mapping.__name__"
    ): "1 True Mapping\n",
    (
        "import md5, time, inspect\n"
        "print md5.new(b'').hexdigest()[:4], time.clock() >= 0, inspect.getargspec(lambda a: 0).args"
    ): "d41d True ['a']\n",
}


@pytest.mark.parametrize("text", MODULES)
def test_modules_by_their_old_names(text):
    assert run2(text)[1] == MODULES[text]


def test_whole_arrays_divide_as_whole_numbers():
    names, _ = run2("import numpy as np\na = np.arange(4)\nb = a / 2\nc = a\na /= 2\nd = np.float32([1]) / 2")
    np.testing.assert_array_equal(names["b"], [0, 0, 1, 1])
    assert names["b"].dtype.kind == "i"
    assert names["a"] is names["c"]
    np.testing.assert_array_equal(names["a"], [0, 0, 1, 1])
    assert names["d"] == 0.5


def test_a_method_of_the_users_goes_before_the_dictionaries(tmp_path):
    text = (
        "class A:\n    def iteritems(self): return [1]\n    def keys(self): return 'own'\n"
        "print A().iteritems(), A().keys()"
    )
    assert run2(text)[1] == "[1] own\n"


# Files of those days were closed when nobody held them any more.
UNCLOSED = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


@UNCLOSED
def test_files_hold_text_and_bytes_alike(tmp_path):
    text = (
        "import cPickle, pickle\n"
        f"cPickle.dump({{'a': [1]}}, open('{tmp_path}/p', 'w'))\n"
        f"x = cPickle.load(open('{tmp_path}/p'))\n"
        f"open('{tmp_path}/b', 'wb').write('text')\n"
        f"f = file('{tmp_path}/latin', 'rU')\n"
        "y = f.read()\n"
        f"open('{tmp_path}/again', 'w').write(y)\n"
    )
    (tmp_path / "latin").write_bytes(b"caf\xe9\r\nx")
    names, _ = run2(text)
    assert names["x"] == {"a": [1]}
    assert pickle.loads((tmp_path / "p").read_bytes()) == {"a": [1]}
    assert (tmp_path / "b").read_bytes() == b"text"
    # Bytes that are no UTF-8 come through.
    assert (tmp_path / "again").read_bytes() == b"caf\xe9\nx"


@UNCLOSED
def test_a_pickle_of_python_2s_arrays_is_read(tmp_path):
    """Written by Python 2.7's protocol 2: strings of bytes, among them those of an array."""
    python2 = (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00\x85q\x03U\x01bq\x04\x87q\x05Rq\x06"
        b"(K\x01K\x02\x85q\x07cnumpy\ndtype\nq\x08U\x02u1q\tK\x00K\x01\x87q\nRq\x0b(K\x03U\x01|q\x0cNNNJ\xff\xff\xff\xff"
        b"J\xff\xff\xff\xffK\x00tq\rb\x89U\x02\xc8\x01q\x0etq\x0fb."
    )
    (tmp_path / "a.pkl").write_bytes(python2)
    names, _ = run2(f"import cPickle\nx = cPickle.load(open('{tmp_path}/a.pkl'))")
    np.testing.assert_array_equal(names["x"], np.uint8([200, 1]))


def lines_of(text):
    """The lines at which the statements of the translated program stand, by the number each assigns to x."""
    source = compile_text(text, "lines.py", python2=True)
    lines = {}

    def trace(frame, event, argument):
        if event == "line" and frame.f_code.co_filename == "lines.py":
            lines.setdefault(frame.f_lineno, None)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        run(source, ModuleType("lines"))
    finally:
        sys.settrace(before)
    return list(lines)


def test_lines_keep_their_numbers_even_where_the_translation_has_more():
    text = "def f((a, b),\n      c):\n    x = a\n    return x\n\ny = f((1, 2), 3)\nz = 5\n"
    assert len(translate(text, "lines.py").splitlines()) > len(text.splitlines())
    lines = lines_of(text)
    assert {3, 4, 6, 7} <= set(lines)
    assert max(lines) == 7


def test_tabs_inside_strings_stay():
    names, _ = run2('if True:\n\tx = """a\n\tb"""\n        y = 1\n')
    assert names["x"] == "a\n\tb"


@pytest.mark.parametrize(
    ("text", "line"), [("x = = 1\n", 1), ("def f(:\n    pass\n", 1), ("x = (1,\n", 2), ("if 1:\n  a\n b\n", 3)]
)
def test_what_is_neither_is_told_with_its_line(text, line):
    with pytest.raises(FormatError, match="neither Python 3 nor Python 2") as caught:
        compile_text(text, "bad.py")
    assert (caught.value.file, caught.value.line) == ("bad.py", line)


@pytest.mark.parametrize("text", ["(" * 3000 + ")" * 3000, "-" * 100_000 + "1", "x = '\0'"])
def test_hostile_sources_end_in_an_error(text):
    with pytest.raises(FormatError):
        compile_text(text, "bad.py", python2=True)


def test_encodings():
    assert decode("# -*- coding: latin-1 -*-\nx = 'é'".encode("latin-1")).endswith("'é'")
    assert decode("x = 'é'".encode()) == "x = 'é'"
    assert decode("x = 'é'\r\n".encode("latin-1")) == "x = 'é'\n"


def test_the_original_stays_what_it_is():
    text = "from __future__ import print_function\nprint('a', end='')\n"
    source = compile_text(text, "both.py")
    assert source.translation is None
    ast.parse(source.text)


def test_codecs_that_turn_bytes_into_bytes():
    from caffecompat.legacy.python2.helpers import decode

    assert decode("616263", "hex") == "abc"
    assert decode("YWJj\n", "base64") == "abc"
    assert decode("abc", "utf-8") == "abc"
    assert decode(b"abc", "utf-8") == "abc"
