// Package during says what was being done when an error occurred. It is what fmt.Errorf with %w is, for the packages that every program with
// weir is linked with: those that do without fmt are smaller by a sixth of a megabyte.
package during

// Error is err with what was being done before it: "doing: err".
func Error(doing string, err error) error { return &failure{doing, err} }

type failure struct {
	doing string
	err   error
}

func (w *failure) Error() string { return w.doing + ": " + w.err.Error() }

func (w *failure) Unwrap() error { return w.err }
