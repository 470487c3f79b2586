package buffer

import (
	"bytes"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"testing/iotest"
)

var (
	_ io.Reader     = (*Buffer)(nil)
	_ io.ReaderAt   = (*Buffer)(nil)
	_ io.ReaderFrom = (*Buffer)(nil)
	_ io.WriterTo   = (*Buffer)(nil)
)

func TestReadAt(t *testing.T) {
	b, want := rope(checked(t), "abc", "defg", "h")
	defer b.Release()
	for off := 0; off <= len(want); off++ {
		for n := 0; n <= len(want)+1; n++ {
			p := make([]byte, n)
			got, err := b.ReadAt(p, int64(off))
			wantN, wantErr := min(n, len(want)-off), error(nil)
			if n > len(want)-off {
				wantErr = io.EOF
			}
			if got != wantN || err != wantErr || string(p[:got]) != want[off:off+got] {
				t.Errorf("ReadAt %d at %d: %d, %v, %q", n, off, got, err, p[:got])
			}
		}
	}
	if n, err := b.ReadAt(make([]byte, 1), -1); n != 0 || err == nil || err == io.EOF {
		t.Errorf("negative offset: %d, %v", n, err)
	}
	for _, off := range []int64{9, math.MaxInt64} {
		if n, err := b.ReadAt(make([]byte, 1), off); n != 0 || err != io.EOF {
			t.Errorf("offset %d: %d, %v", off, n, err)
		}
	}
}

func TestReaderContract(t *testing.T) {
	p := checked(t)
	b, want := rope(p, "abc", "defg", "h")
	if err := iotest.TestReader(struct{ io.Reader }{b}, []byte(want)); err != nil {
		t.Error(err)
	}
	if b.Size() != 0 || b.count() != 0 {
		t.Errorf("%d bytes left", b.Size())
	}
}

func TestWriteFromReader(t *testing.T) {
	boom := errors.New("boom")
	for _, c := range []struct {
		name string
		r    io.Reader
		n    int64
		want string
		err  error
	}{
		{"all", strings.NewReader("abcdef"), 6, "abcdef", nil},
		{"part", strings.NewReader("abcdef"), 4, "abcd", nil},
		{"none", strings.NewReader("abcdef"), 0, "", nil},
		{"negative", strings.NewReader("abcdef"), -1, "", nil},
		{"ends early", strings.NewReader("abc"), 4, "abc", io.EOF},
		{"by bytes", iotest.OneByteReader(strings.NewReader("abcdef")), 5, "abcde", nil},
		{"end with the last bytes", iotest.DataErrReader(strings.NewReader("abc")), 3, "abc", nil},
		{"fails later", io.MultiReader(strings.NewReader("ab"), iotest.ErrReader(boom)), 9, "ab", boom},
		{"fails at once", iotest.ErrReader(boom), 9, "", boom},
		{"gives nothing", readFunc(func([]byte) (int, error) { return 0, nil }), 9, "", io.ErrNoProgress},
		{"lies upwards", readFunc(func(p []byte) (int, error) { return len(p) + 1, nil }), 9, "", errInvalidRead},
		{"lies downwards", readFunc(func([]byte) (int, error) { return -1, nil }), 9, "", errInvalidRead},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b Buffer
			b.SetPool(checked(t))
			defer b.Release()
			b.Append([]byte(">"))
			n, err := b.WriteFromReader(c.r, c.n)
			if n != int64(len(c.want)) || err != c.err || text(&b) != ">"+c.want {
				t.Errorf("%d, %v, %q", n, err, text(&b))
			}
		})
	}
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

func TestReadFrom(t *testing.T) {
	boom := errors.New("boom")
	long := strings.Repeat("0123456789", 50000)
	for _, c := range []struct {
		name string
		r    io.Reader
		want string
		err  error
	}{
		{"nothing", strings.NewReader(""), "", nil},
		{"long", struct{ io.Reader }{strings.NewReader(long)}, long, nil},
		{"halves", iotest.HalfReader(strings.NewReader(long)), long, nil},
		{"fails", io.MultiReader(strings.NewReader("ab"), iotest.ErrReader(boom)), "ab", boom},
		{"gives nothing", readFunc(func([]byte) (int, error) { return 0, nil }), "", io.ErrNoProgress},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b Buffer
			b.SetPool(checked(t))
			defer b.Release()
			n, err := b.ReadFrom(c.r)
			if n != int64(len(c.want)) || err != c.err || text(&b) != c.want {
				t.Errorf("%d of %d, %v", n, len(c.want), err)
			}
			if b.Footprint() > 2*b.Size()+class64K {
				t.Errorf("%d bytes pin %d", b.Size(), b.Footprint())
			}
		})
	}
}

// A read that gives nothing leaves nothing behind, and room that Publish kept stays.
func TestReadFromEmptyKeepsNothing(t *testing.T) {
	p := checked(t)
	var b, q Buffer
	b.SetPool(p)
	b.ReadFrom(strings.NewReader(""))
	if b.count() != 0 {
		t.Error("a chunk stayed")
	}
	b.Append([]byte("x"))
	b.Publish(&q)
	b.ReadFrom(strings.NewReader(""))
	if b.count() != 1 || len(b.last().backRoom()) == 0 {
		t.Error("the room kept by Publish is gone")
	}
	b.Release()
	q.Release()
}

// limited takes n bytes in all and then fails.
type limited struct {
	bytes.Buffer
	n   int
	err error
}

func (l *limited) Write(p []byte) (int, error) {
	if len(p) > l.n {
		p = p[:l.n]
		l.Buffer.Write(p)
		l.n = 0
		return len(p), l.err
	}
	l.n -= len(p)
	return l.Buffer.Write(p)
}

func TestReadToWriter(t *testing.T) {
	boom := errors.New("boom")
	for _, c := range []struct {
		name   string
		n      int64
		limit  int
		fail   error
		taken  int
		err    error
		remain string // after WriteTo
	}{
		{"all", 8, 99, nil, 8, nil, ""},
		{"more than all", math.MaxInt64, 99, nil, 8, nil, ""},
		{"part", 5, 99, nil, 5, nil, ""},
		{"none", 0, 99, nil, 0, nil, ""},
		{"negative", -1, 99, nil, 0, nil, ""},
		{"fails", 8, 4, boom, 4, boom, "efgh"},
		{"short without error", 8, 4, nil, 4, io.ErrShortWrite, "efgh"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, was := rope(checked(t), "abc", "defg", "h")
			defer b.Release()
			w := &limited{n: c.limit, err: c.fail}
			n, err := b.ReadToWriter(w, c.n)
			if n != int64(c.taken) || err != c.err || w.String() != was[:c.taken] || text(b) != was {
				t.Errorf("ReadToWriter: %d, %v, %q; b is %q", n, err, w.String(), text(b))
			}
			w = &limited{n: c.limit, err: c.fail}
			n, err = b.WriteTo(w)
			if n != int64(len(was)-len(c.remain)) || err != c.err || text(b) != c.remain {
				t.Errorf("WriteTo: %d, %v; b is %q", n, err, text(b))
			}
		})
	}
	b, was := rope(checked(t), "abc")
	defer b.Release()
	for _, lie := range []int{-1, 4} {
		if n, err := b.WriteTo(writeFunc(func([]byte) (int, error) { return lie, nil })); n != 0 || err != errInvalidWrite || text(b) != was {
			t.Errorf("a writer that says %d: %d, %v", lie, n, err)
		}
	}
}

type writeFunc func([]byte) (int, error)

func (f writeFunc) Write(p []byte) (int, error) { return f(p) }
