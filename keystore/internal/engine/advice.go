package engine

import "errors"

// WithAdvice appends to err what an operator can do about it. It returns err if
// advice is empty, or if err has advice already.
func WithAdvice(err error, advice string) error {
	if advice == "" || HasAdvice(err) {
		return err
	}
	return &advisedError{err, advice}
}

// HasAdvice reports whether err is an error of WithAdvice.
func HasAdvice(err error) bool {
	var done *advisedError
	return errors.As(err, &done)
}

type advisedError struct {
	error
	advice string
}

func (e *advisedError) Error() string { return e.error.Error() + ": " + e.advice }
func (e *advisedError) Unwrap() error { return e.error }
