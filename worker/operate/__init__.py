"""What operators ask and do, without a word printed: the commands and the web console stand on this.

    connect      the clients of one relay's settings, opened and closed together
    letters      dead letters: read, grouped by cause and error, found by id
    redrive      redrive, archive, unarchive: letters go from one place to another, and are never lost
    records      what became of a key; which keys OMS refused
    doctor       settings, network, clock, permissions and state, one verdict each with its fix
    status       queue, dead letters, OMS counters and workers at a glance

There is no database: MNS, the log bucket and OMS hold everything. Listings are read page by page, so
memory is flat however many there are. Every call is repeated while it fails in passing, until
`Clients.stop` is set; what still fails is raised as `CallFailed`, whose text says what happened, while
`worker.advice.advise` says what to do next.
"""
