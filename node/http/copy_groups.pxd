cdef class Group


cdef class Grouped:
    cdef public bytes key
    cdef public dict index
    cdef public str handle
    cdef public object prefix_id
    cdef public bytes entry
    cdef public double ends
    cdef public Group group
    cdef public double asked

    cpdef drop(self)


cdef class Group:
    cdef public str prefix
    cdef public bytes generation
    cdef public bytes events
    cdef public double until
    cdef public object turn
    cdef public dict copies


cdef class CopyGroups:
    cdef public double seconds
    cdef object _node, _looking
    cdef dict _groups
    cdef bint _ticking
    cdef double _swept
