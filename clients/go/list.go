package proxygpt

import "context"

// Iterator walks over a whole list, newest element first, and reads its pages as they are needed.
//
//	for it.Next() {
//		use(it.Value())
//	}
//	return it.Err()
type Iterator[T any] struct {
	ctx   context.Context
	fetch func(ctx context.Context, before string) (page []T, hasMore bool, err error)
	id    func(T) string

	// pending are elements that were read and not shown yet, oldest first.
	pending []T
	hasMore bool
	value   T
	err     error
}

func newIterator[T any](
	ctx context.Context, id func(T) string, fetch func(context.Context, string) ([]T, bool, error),
) *Iterator[T] {
	return &Iterator[T]{ctx: ctx, fetch: fetch, id: id, hasMore: true}
}

// Next goes to the next element. It returns false at the end of the list and after an error.
func (it *Iterator[T]) Next() bool {
	if it.err != nil {
		return false
	}
	// The oldest element that was read is the anchor of the next page. That page is read before the anchor is shown:
	// the caller may delete what it gets.
	for it.hasMore && len(it.pending) <= 1 {
		before := ""
		if len(it.pending) > 0 {
			before = it.id(it.pending[0])
		}
		page, hasMore, err := it.fetch(it.ctx, before)
		if err != nil {
			it.err = err
			return false
		}
		it.hasMore = hasMore && len(page) > 0
		it.pending = append(append([]T{}, page...), it.pending...)
	}
	if len(it.pending) == 0 {
		return false
	}
	last := len(it.pending) - 1
	it.value, it.pending = it.pending[last], it.pending[:last]
	return true
}

// Value returns the element that the last call of Next went to.
func (it *Iterator[T]) Value() T { return it.value }

// Err returns the error that ended the iteration, or nil.
func (it *Iterator[T]) Err() error { return it.err }
