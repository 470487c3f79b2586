package sandbox

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"
)

// stdio is the files that are the program's standard input, output and error, and the copying between them and what is no file.
type stdio struct {
	files   [3]*os.File
	theirs  []io.Closer // ends of pipes and the like that the program has, and we need not
	ours    []io.Closer // ends of pipes that we have
	copiers []func() error
	ended   chan error // one for each copier that runs
}

// openStdio makes files of c.Stdin, c.Stdout and c.Stderr. Nothing is copied before start.
func (c *Cmd) openStdio() (s *stdio, err error) {
	s = &stdio{}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if err = s.input(c.Stdin); err != nil {
		return s, err
	}
	if err = s.output(1, c.Stdout); err != nil {
		return s, err
	}
	if c.Stderr != nil && same(c.Stdout, c.Stderr) {
		s.files[2] = s.files[1]
		return s, nil
	}
	return s, s.output(2, c.Stderr)
}

// same says whether two writers are one. Types that cannot be compared are never.
func same(a, b io.Writer) (same bool) {
	defer func() { _ = recover() }()
	return a == b
}

func (s *stdio) null(i, mode int) error {
	f, err := os.OpenFile(os.DevNull, mode, 0)
	if err != nil {
		return err
	}
	s.files[i], s.theirs = f, append(s.theirs, f)
	return nil
}

func (s *stdio) input(from io.Reader) error {
	if from == nil {
		return s.null(0, os.O_RDONLY)
	}
	if f, ok := from.(*os.File); ok {
		s.files[0] = f
		return nil
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	s.files[0], s.theirs, s.ours = r, append(s.theirs, r), append(s.ours, w)
	s.copiers = append(s.copiers, func() error {
		_, err := io.Copy(w, from)
		if errors.Is(err, syscall.EPIPE) {
			err = nil // the program need not read everything
		}
		return errors.Join(err, closed(w.Close()))
	})
	return nil
}

func (s *stdio) output(i int, to io.Writer) error {
	if to == nil {
		return s.null(i, os.O_WRONLY)
	}
	if f, ok := to.(*os.File); ok {
		s.files[i] = f
		return nil
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	s.files[i], s.theirs, s.ours = w, append(s.theirs, w), append(s.ours, r)
	s.copiers = append(s.copiers, func() error {
		_, err := io.Copy(to, r)
		return errors.Join(err, closed(r.Close()))
	})
	return nil
}

// closed is the error of a Close, except that somebody else was first.
func closed(err error) error {
	if errors.Is(err, fs.ErrClosed) {
		return nil
	}
	return err
}

// start begins to copy. The program has its ends by now.
func (s *stdio) start() {
	closeAll(s.theirs)
	s.ended = make(chan error, len(s.copiers))
	for _, c := range s.copiers {
		go func() { s.ended <- c() }()
	}
}

// wait waits for the copying to end, at most for delay if that is not 0, and returns the first error.
func (s *stdio) wait(delay time.Duration) (err error) {
	var timeout <-chan time.Time
	if delay > 0 {
		t := time.NewTimer(delay)
		defer t.Stop()
		timeout = t.C
	}
	for range s.copiers {
		select {
		case e := <-s.ended:
			if err == nil {
				err = e
			}
		case <-timeout:
			closeAll(s.ours)
			return errWaitDelay
		}
	}
	return err
}

var errWaitDelay = errors.New("sandbox: WaitDelay expired before input and output were copied")

// close ends it all without copying.
func (s *stdio) close() {
	closeAll(s.theirs)
	closeAll(s.ours)
}

func closeAll(all []io.Closer) {
	for _, c := range all {
		c.Close()
	}
}
