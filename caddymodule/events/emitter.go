package events

import (
	"runtime/debug"

	"go.uber.org/zap"
)

// Emitter calls the handlers of one configuration. Its goroutine runs from [Queue.Use] until another
// emitter is used, or until [Queue.Drop]. A handler that hangs keeps the goroutine until the next
// configuration, whose emitter has a goroutine of its own.
type Emitter struct {
	// Emit calls the handlers of an event, and waits for them.
	Emit func(name string, data map[string]any)
	// Wants reports whether an event has a handler.
	Wants  func(name string) bool
	Logger *zap.Logger

	stop chan struct{} // closed: end after the handler that runs
	last chan struct{} // closed: end when no event waits
	done chan struct{} // closed when the goroutine has ended
}

func (e *Emitter) run(q *Queue) {
	defer close(e.done)
	for {
		select {
		case <-e.stop:
			return
		default:
		}
		select {
		case <-e.stop:
			return
		case event := <-q.waiting:
			e.emit(&event)
		case <-e.last:
			select {
			case event := <-q.waiting:
				e.emit(&event)
			default:
				return
			}
		}
	}
}

// emit calls the handlers of an event. A handler that panics does not end the process.
func (e *Emitter) emit(event *Event) {
	defer func() {
		if fault := recover(); fault != nil {
			e.Logger.Error("the handler of an event has panicked", zap.Stringer("event", event.Name), zap.Any("panic", fault), zap.ByteString("stack", debug.Stack()))
		}
	}()
	e.Emit(event.Name.String(), event.data())
}
