"""The operators' web page: `oms-relay console`.

    options     where it listens, which workers it watches, what it allows
    server      routes, the server's life
    page_frame  around every request: language, headers, error pages
    guard       who may ask: Host, Origin, session, CSRF token, read-only
    sessions    signing in with the token; nothing else is kept on the server
    watch       looks at workers, queue and task again and again; charts draws what was seen
    grouping_job groups dead letters in the background, for there may be millions
    browse      dead letters page by page
    operations  redrive, archive, unarchive: one at a time, watched, stopped; audit keeps what was done
    words       every text, in English and Chinese

Pages are rendered here and work without JavaScript; a small script keeps numbers and charts alive. Nothing
is loaded from elsewhere. All that the console knows stands in MNS, OSS and OMS: it may be restarted at will.
"""
